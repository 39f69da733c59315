import { createApp } from 'vue'
import '../shared/theme.css'
import { ignoreStrayClicks } from '../shared/double-click.ts'
import App from './StageApp.vue'

ignoreStrayClicks()
createApp(App).mount('#app')
